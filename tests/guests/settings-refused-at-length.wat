;; Rejects its settings with a message of nearly a MiB.
;;@ memory 20
(func (export "validate-settings") (param i32 i32) (result i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x0a) (i32.const 0xff000))
  (call $declined (i32.const 0x10000) (i32.const 0xff000)))
