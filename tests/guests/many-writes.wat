;; Declares a hundred writes.
;;@ writes /a
(func (export "manifest") (result i32)
  (local $at i32)
  (local.set $at (i32.const 0x1000))
  (loop $next
    (i32.store (local.get $at) (i32.const 0x1f00))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 0x1320))))
  (i32.store (i32.const 0x4020) (i32.const 0x1000))
  (i32.store (i32.const 0x4024) (i32.const 100))
  (i32.const 0x4000))
