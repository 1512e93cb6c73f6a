;; Logs a message of four MiB, more than the host accepts.
;;@ memory 100
(func $hostile (result i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x61) (i32.const 0x400000))
  (call $write (i32.const 3) (i32.const 0x10000) (i32.const 0x400000))
  (call $changed))
