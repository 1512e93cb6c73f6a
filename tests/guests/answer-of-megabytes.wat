;; Returns a warning of four MiB.
;;@ memory 100
(func $hostile (result i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x61) (i32.const 0x400000))
  (call $warned (i32.const 0x10000) (i32.const 0x400000)))
