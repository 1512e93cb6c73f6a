;; Removes the element after the last one.
;;@ writes /spec/template
(data (i32.const 0x1000) "/spec/template/spec/tolerations/-")
(func $hostile (result i32) (call $remove (i32.const 0x1000)) (call $changed))
