;; Has a description of two lines; the second imitates a log line.
(data (i32.const 0x1000) "harmless\0aERROR wardset: forged")
(func (export "manifest") (result i32)
  (i32.store (i32.const 0x4010) (i32.const 0x1000))
  (i32.store (i32.const 0x4014) (i32.const 30))
  (i32.const 0x4000))
