;; Returns a manifest with a million `reads` that share one text of 64 KiB.
;;@ memory 160
(func (export "manifest") (result i32)
  (local $at i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x61) (i32.const 0xffff))
  (local.set $at (i32.const 0x20000))
  (loop $next
    (i32.store (local.get $at) (i32.const 0x10000))
    (i32.store offset=4 (local.get $at) (i32.const 0xffff))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 0x7c1200))))
  (i32.store (i32.const 0x4018) (i32.const 0x20000))
  (i32.store (i32.const 0x401c) (i32.const 1000000))
  (i32.const 0x4000))
