;; Replaces the list of containers with a string.
;;@ writes /spec/template/spec
(data (i32.const 0x1000) "/spec/template/spec/containers")
(data (i32.const 0x1100) "\"none\"")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
