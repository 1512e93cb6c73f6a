;; Replaces the whole document with a number.
;;@ writes ""
(data (i32.const 0x1000) "")
(data (i32.const 0x1100) "5")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
