;; Removes the template's labels, so that the selector matches no pod.
;;@ writes /spec/template
(data (i32.const 0x1000) "/spec/template/metadata/labels")
(func $hostile (result i32) (call $remove (i32.const 0x1000)) (call $changed))
