;; Makes 3,000 valid changes.
;;@ writes /metadata/labels
;;@ memory 4
(data (i32.const 0x1000) "/metadata/labels/x")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32)
  (local $at i32)
  (call $add (i32.const 0x1000) (i32.const 0x1100))
  (local.set $at (i32.const 0x10000))
  (loop $next
    (memory.copy (local.get $at) (i32.const 0x400) (i32.const 28))
    (local.set $at (i32.add (local.get $at) (i32.const 28)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 149536))))
  (call $verdict (i32.const 0) (i32.const 0) (i32.const 0x10000) (i32.const 3000) (i32.const 0) (i32.const 0)))
