;; Returns an error of nearly a MiB with line breaks.
;;@ memory 20
(func $hostile (result i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x0a) (i32.const 0xff000))
  (call $declined (i32.const 0x10000) (i32.const 0xff000)))
