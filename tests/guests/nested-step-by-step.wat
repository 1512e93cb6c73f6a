;; Nests 200 objects by 200 changes, each of them shallow.
;;@ writes /metadata/labels
;;@ memory 8
(data (i32.const 0x1100) "{}")
(func $hostile (result i32)
  (local $n i32) (local $path i32) (local $to i32)
  (local.set $path (i32.const 0x10000))
  (loop $next
    ;; Adds `{}` at `/metadata/labels` followed by $n times `/x`. The list of changes is at 0x60000.
    (memory.copy (local.get $path) (i32.const 0x1300) (i32.const 16))
    (local.set $to (i32.add (local.get $path) (i32.const 16)))
    (local.set $n (i32.add (local.get $n) (i32.const 1)))
    (call $repeat (local.get $to) (local.get $n))
    (call $change (i32.sub (local.get $n) (i32.const 1)) (local.get $path)
      (i32.add (i32.const 16) (i32.mul (local.get $n) (i32.const 2))))
    (local.set $path (i32.add (local.get $path) (i32.const 500)))
    (br_if $next (i32.lt_u (local.get $n) (i32.const 200))))
  (call $verdict (i32.const 0) (i32.const 0) (i32.const 0x60000) (i32.const 200) (i32.const 0) (i32.const 0)))
(data (i32.const 0x1300) "/metadata/labels")
(func $repeat (param $to i32) (param $times i32)
  (loop $next
    (i32.store16 (local.get $to) (i32.const 0x782f))
    (local.set $to (i32.add (local.get $to) (i32.const 2)))
    (local.set $times (i32.sub (local.get $times) (i32.const 1)))
    (br_if $next (local.get $times))))
(func $change (param $n i32) (param $path i32) (param $len i32)
  (local $at i32)
  (local.set $at (i32.add (i32.const 0x60000) (i32.mul (local.get $n) (i32.const 28))))
  (i32.store offset=4 (local.get $at) (local.get $path))
  (i32.store offset=8 (local.get $at) (local.get $len))
  (i32.store offset=12 (local.get $at) (i32.const 0x1100))
  (i32.store offset=16 (local.get $at) (i32.const 2)))
