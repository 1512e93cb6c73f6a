;; The frame around each guest of this folder that is not a whole component. It has the contract's types and imports, a
;; memory and correct answers. A guest contributes its misbehaviour as fields of the module `$main`. If the guest defines a
;; field that stands here between `;;?` and `;;.`, the guest's field replaces it. `{…}` is filled from the guest's `;;@` lines.
;;
;; The hostile part is `$hostile`. It runs only if the review is a dry run, so a test can request a clean review from the
;; same policy afterwards.
;;
;; Memory: 0x0000 the answer          0x0040 the result of an import   0x0400 the list of changes
;;         0x1000 the guest's own     0x4000 the manifest              0x8000 the heap
(component
  (type $types-type (instance
    (type $a (enum "create" "update")) (export "operation" (type $operation (eq $a)))
    (type $b (enum "open" "closed")) (export "template-gate" (type $template-gate (eq $b)))
    (type $c (enum "namespace-labels")) (export "cluster-data" (type $cluster-data (eq $c)))
    (type $d (enum "debug" "info" "warn" "error")) (export "level" (type (eq $d)))
    (type $e (record (field "operation" $operation) (field "kind" string) (field "name" string)
      (field "namespace" string) (field "user" string) (field "dry-run" bool) (field "template" $template-gate)))
    (export "request" (type (eq $e)))
    (type $f (record (field "path" string) (field "value" string))) (export "placed" (type $placed (eq $f)))
    (type $g (variant (case "add" $placed) (case "replace" $placed) (case "remove" string)))
    (export "edit" (type $edit (eq $g)))
    (type $h (record (field "edit" $edit) (field "reason" string))) (export "change" (type $change (eq $h)))
    (type $i (enum "forbidden" "invalid")) (export "denial-code" (type $denial-code (eq $i)))
    (type $j (record (field "code" $denial-code) (field "pointer" string) (field "message" string)
      (field "fix" string)))
    (export "denial" (type $denial (eq $j)))
    (type $k (record (field "pointer" string) (field "message" string))) (export "warning" (type $warning (eq $k)))
    (type $n (record (field "pointer" string) (field "message" string))) (export "note" (type $note (eq $n)))
    (type $l (record (field "denials" (list $denial)) (field "changes" (list $change))
      (field "warnings" (list $warning)) (field "notes" (list $note))))
    (export "verdict" (type (eq $l)))
    (type $m (record (field "name" string) (field "version" string) (field "description" string)
      (field "reads" (list string)) (field "writes" (list string)) (field "cluster" (list $cluster-data))
      (field "settings-schema" string)))
    (export "manifest" (type (eq $m)))))
  (import "wardset:policy/types@0.1.0" (instance $types (type $types-type)))
  (alias export $types "cluster-data" (type $cluster-data))
  (alias export $types "level" (type $level))
  (alias export $types "request" (type $request))
  (alias export $types "verdict" (type $verdict))
  (alias export $types "manifest" (type $manifest))
  (import "wardset:policy/document@0.1.0" (instance $document
    (export "object" (func (param "pointer" string) (result (option string))))
    (export "old-object" (func (param "pointer" string) (result (option string))))))
  (import "wardset:policy/cluster@0.1.0" (instance $cluster
    (alias outer 1 $cluster-data (type $c))
    (export "cluster-data" (type $cluster-data (eq $c)))
    (export "data" (func (param "what" $cluster-data) (result (option string))))))
  (import "wardset:policy/log@0.1.0" (instance $log
    (alias outer 1 $level (type $l))
    (export "level" (type $level (eq $l)))
    (export "write" (func (param "level" $level) (param "message" string)))))

  (core module $base
    (memory (export "memory") {pages})
    (global $heap (mut i32) (i32.const 0x8000))
    ;;? "realloc"
    (func (export "realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
      (global.set $heap (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    ;;.
    {base})
  (core instance $base (instantiate $base))
  (alias core export $base "memory" (core memory $memory))
  (alias core export $base "realloc" (core func $realloc))
  (core func $object
    (canon lower (func $document "object") (memory $memory) (realloc $realloc)))
  (core func $old-object
    (canon lower (func $document "old-object") (memory $memory) (realloc $realloc)))
  (core func $data
    (canon lower (func $cluster "data") (memory $memory) (realloc $realloc)))
  (core func $write (canon lower (func $log "write") (memory $memory)))

  (core module $main
    ;; Parameters: the fields of the request (number 9 is `dry-run`), then the settings.
    (type $evaluate (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "host" "object" (func $object (param $pointer i32) (param $len i32) (param $into i32)))
    (import "host" "old-object" (func $old-object (param $pointer i32) (param $len i32) (param $into i32)))
    (import "host" "data" (func $data (param $what i32) (param $into i32)))
    (import "host" "write" (func $write (param $level i32) (param $message i32) (param $len i32)))
    (import "base" "memory" (memory 1))
    {manifest}

    ;; Returns the length of the zero-terminated text at $at.
    (func $len (param $at i32) (result i32)
      (local $n i32)
      (loop $next
        (if (i32.load8_u (i32.add (local.get $at) (local.get $n)))
          (then (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $next))))
      (local.get $n))
    ;; Calls `object` with the zero-terminated text at $pointer.
    (func $read (param $pointer i32)
      (call $object (local.get $pointer) (call $len (local.get $pointer)) (i32.const 0x40)))
    ;; Appends a change: 0 adds, 1 replaces, 2 removes.
    (global $changes (mut i32) (i32.const 0))
    (func $edit (param $how i32) (param $path i32) (param $value i32)
      (local $at i32)
      (local.set $at (i32.add (i32.const 0x400) (i32.mul (global.get $changes) (i32.const 28))))
      (global.set $changes (i32.add (global.get $changes) (i32.const 1)))
      (i32.store (local.get $at) (local.get $how))
      (i32.store offset=4 (local.get $at) (local.get $path))
      (i32.store offset=8 (local.get $at) (call $len (local.get $path)))
      (i32.store offset=12 (local.get $at) (local.get $value))
      (i32.store offset=16 (local.get $at) (call $len (local.get $value)))
      (i32.store offset=20 (local.get $at) (i32.const 0x1000))
      (i32.store offset=24 (local.get $at) (i32.const 1)))
    (func $add (param $path i32) (param $value i32) (call $edit (i32.const 0) (local.get $path) (local.get $value)))
    (func $replace (param $path i32) (param $value i32)
      (call $edit (i32.const 1) (local.get $path) (local.get $value)))
    (func $remove (param $path i32) (call $edit (i32.const 2) (local.get $path) (i32.const 0)))
    ;; Returns a verdict with these lists.
    (func $verdict
      (param $denials i32) (param $of-denials i32) (param $changes i32) (param $of-changes i32)
      (param $warnings i32) (param $of-warnings i32) (result i32)
      (i64.store (i32.const 0) (i64.const 0))
      (i32.store (i32.const 4) (local.get $denials))
      (i32.store (i32.const 8) (local.get $of-denials))
      (i32.store (i32.const 12) (local.get $changes))
      (i32.store (i32.const 16) (local.get $of-changes))
      (i32.store (i32.const 20) (local.get $warnings))
      (i32.store (i32.const 24) (local.get $of-warnings))
      ;; No notes.
      (i32.store (i32.const 28) (i32.const 0))
      (i32.store (i32.const 32) (i32.const 0))
      (i32.const 0))
    ;; Returns a verdict with the appended changes.
    (func $changed (result i32)
      (call $verdict (i32.const 0) (i32.const 0) (i32.const 0x400) (global.get $changes) (i32.const 0) (i32.const 0)))
    ;; Returns a verdict with one warning.
    (func $warned (param $text i32) (param $len i32) (result i32)
      (i32.store (i32.const 0x80) (i32.const 0))
      (i32.store (i32.const 0x84) (i32.const 0))
      (i32.store (i32.const 0x88) (local.get $text))
      (i32.store (i32.const 0x8c) (local.get $len))
      (call $verdict (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0x80) (i32.const 1)))
    ;; Returns a verdict with these notes.
    (func $noted (param $notes i32) (param $of-notes i32) (result i32)
      (drop (call $verdict (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
      (i32.store (i32.const 28) (local.get $notes))
      (i32.store (i32.const 32) (local.get $of-notes))
      (i32.const 0))
    ;; Returns an error with this text.
    (func $declined (param $text i32) (param $len i32) (result i32)
      (i32.store (i32.const 0) (i32.const 1))
      (i32.store (i32.const 4) (local.get $text))
      (i32.store (i32.const 8) (local.get $len))
      (i32.const 0))

    ;;? $hostile
    (func $hostile (result i32) (call $changed))
    ;;.
    ;;? "evaluate"
    (func (export "evaluate") (type $evaluate)
      (if (result i32) (local.get 9) (then (call $hostile)) (else (call $changed))))
    ;;.
    ;;? "post-evaluate"
    (func (export "post-evaluate") (param i32))
    ;;.
    ;;? "validate-settings"
    (func (export "validate-settings") (param $settings i32) (param $len i32) (result i32)
      (i32.store (i32.const 0) (i32.const 0))
      (i32.const 0))
    ;;.
    ;;? "manifest"
    (func (export "manifest") (result i32) (i32.const 0x4000))
    ;;.
    {main})
  {component}
  (core instance $main (instantiate $main
    (with "base" (instance $base))
    (with "host" (instance
      (export "object" (func $object)) (export "old-object" (func $old-object))
      (export "data" (func $data)) (export "write" (func $write))))))

  (alias core export $main "manifest" (core func $the-manifest))
  (alias core export $main "validate-settings" (core func $the-validate-settings))
  (alias core export $main "evaluate" (core func $the-evaluate))
  (alias core export $main "post-evaluate" (core func $the-post-evaluate))
  (func (export "manifest") (result $manifest)
    (canon lift (core func $the-manifest) (memory $memory) (realloc $realloc)))
  (func (export "validate-settings") (param "settings" string) (result (result (error string)))
    (canon lift (core func $the-validate-settings) (memory $memory) (realloc $realloc)))
  (func (export "evaluate") (param "request" $request) (param "settings" string)
    (result (result $verdict (error string)))
    (canon lift (core func $the-evaluate) (memory $memory) (realloc $realloc)
      (post-return $the-post-evaluate))))
