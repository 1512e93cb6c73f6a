;; Returns 900,000 warnings that share one text of a MiB: fourteen MiB that expand to 900 GiB.
;;@ memory 240
(func $hostile (result i32)
  (local $at i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x61) (i32.const 0xffff))
  (local.set $at (i32.const 0x20000))
  (loop $next
    (i32.store offset=8 (local.get $at) (i32.const 0x10000))
    (i32.store offset=12 (local.get $at) (i32.const 0x100000))
    (local.set $at (i32.add (local.get $at) (i32.const 16)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 14520000))))
  (call $verdict (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0x20000) (i32.const 900000)))
