;; Replaces the whole document with an empty object.
;;@ writes ""
(data (i32.const 0x1000) "")
(data (i32.const 0x1100) "{}")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
