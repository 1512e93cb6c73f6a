;; Has a name with capitals and blanks.
(data (i32.const 0x1000) "Not A Name")
(func (export "manifest") (result i32)
  (i32.store (i32.const 0x4000) (i32.const 0x1000))
  (i32.store (i32.const 0x4004) (i32.const 10))
  (i32.const 0x4000))
