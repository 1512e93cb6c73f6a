;; Removes the whole document.
;;@ writes ""
(data (i32.const 0x1000) "")
(func $hostile (result i32) (call $remove (i32.const 0x1000)) (call $changed))
