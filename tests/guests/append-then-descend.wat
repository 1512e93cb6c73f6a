;; Adds below the element after the last one.
;;@ writes /spec/template
(data (i32.const 0x1000) "/spec/template/spec/tolerations/-/key")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
