;; Returns the maximum number of notes, each 4 KiB of line breaks, bells and escapes.
;;@ memory 4
(func $hostile (result i32)
  (local $at i32)
  (memory.fill (i32.const 0x2000) (i32.const 0x0a) (i32.const 0x800))
  (memory.fill (i32.const 0x2400) (i32.const 0x61) (i32.const 0x10))
  (memory.fill (i32.const 0x2800) (i32.const 0x1b) (i32.const 0x400))
  (memory.fill (i32.const 0x2c00) (i32.const 0x07) (i32.const 0x400))
  (local.set $at (i32.const 0x10000))
  (loop $next
    (i32.store offset=8 (local.get $at) (i32.const 0x2000))
    (i32.store offset=12 (local.get $at) (i32.const 0x1000))
    (local.set $at (i32.add (local.get $at) (i32.const 16)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 0x10400))))
  (call $noted (i32.const 0x10000) (i32.const 64)))
