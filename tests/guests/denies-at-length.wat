;; Denies for the maximum number of reasons, each twelve KiB of line breaks, escapes and bells.
;;@ memory 4
(func $hostile (result i32)
  (local $at i32)
  (memory.fill (i32.const 0x2000) (i32.const 0x61) (i32.const 0x10))
  (memory.fill (i32.const 0x2010) (i32.const 0x0a) (i32.const 0x800))
  (memory.fill (i32.const 0x2810) (i32.const 0x1b) (i32.const 0x400))
  (memory.fill (i32.const 0x2c10) (i32.const 0x07) (i32.const 0x3f0))
  (local.set $at (i32.const 0x10000))
  (loop $next
    (i32.store offset=4 (local.get $at) (i32.const 0x2000))
    (i32.store offset=8 (local.get $at) (i32.const 0x1000))
    (i32.store offset=12 (local.get $at) (i32.const 0x2000))
    (i32.store offset=16 (local.get $at) (i32.const 0x1000))
    (i32.store offset=20 (local.get $at) (i32.const 0x2000))
    (i32.store offset=24 (local.get $at) (i32.const 0x1000))
    (local.set $at (i32.add (local.get $at) (i32.const 28)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 67328))))
  (call $verdict (i32.const 0x10000) (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
