;; Makes a valid change, then a forbidden one; the host must undo the first.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels/first")
(data (i32.const 0x1100) "\"y\"")
(data (i32.const 0x1200) "/metadata/uid")
(func $hostile (result i32)
  (call $add (i32.const 0x1000) (i32.const 0x1100))
  (call $replace (i32.const 0x1200) (i32.const 0x1100))
  (call $changed))
