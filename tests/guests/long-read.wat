;; Declares a read at a pointer of half a MiB.
;;@ memory 20
(data (i32.const 0x1000) "\00\00\01\00\00\00\08\00")
(func (export "manifest") (result i32)
  (memory.fill (i32.const 0x10000) (i32.const 0x2f) (i32.const 0x80000))
  (i32.store (i32.const 0x4018) (i32.const 0x1000))
  (i32.store (i32.const 0x401c) (i32.const 1))
  (i32.const 0x4000))
