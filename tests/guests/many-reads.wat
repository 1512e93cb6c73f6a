;; Declares four thousand reads.
(func (export "manifest") (result i32)
  (local $at i32)
  (local.set $at (i32.const 0x5000))
  (loop $next
    (i32.store (local.get $at) (i32.const 0x1f00))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 0xcd00))))
  (i32.store (i32.const 0x4018) (i32.const 0x5000))
  (i32.store (i32.const 0x401c) (i32.const 4000))
  (i32.const 0x4000))
