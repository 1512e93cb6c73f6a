;; Declares a settings schema of half a MiB, most of it blanks.
;;@ memory 20
(func (export "manifest") (result i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x20) (i32.const 0x80000))
  (i32.store8 (i32.const 0x10000) (i32.const 0x7b))
  (i32.store8 (i32.const 0x8ffff) (i32.const 0x7d))
  (i32.store (i32.const 0x4030) (i32.const 0x10000))
  (i32.store (i32.const 0x4034) (i32.const 0x80000))
  (i32.const 0x4000))
