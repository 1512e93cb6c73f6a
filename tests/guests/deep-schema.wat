;; Declares a settings schema that is nested ten thousand levels deep.
(func (export "manifest") (result i32)
  (local $at i32)
  (local.set $at (i32.const 0x5000))
  (loop $next
    (memory.copy (local.get $at) (i32.const 0x1000) (i32.const 5))
    (local.set $at (i32.add (local.get $at) (i32.const 5)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 0x11000))))
  (i32.store (i32.const 0x4030) (i32.const 0x5000))
  (i32.store (i32.const 0x4034) (i32.const 0xc000))
  (i32.const 0x4000))
;;@ memory 2
(data (i32.const 0x1000) "{\"a\":")
