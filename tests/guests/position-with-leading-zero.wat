;; Adds an element at index `00`.
;;@ writes /spec/template
(data (i32.const 0x1000) "/spec/template/spec/tolerations/00")
(data (i32.const 0x1100) "{}")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
