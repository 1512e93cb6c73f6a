;; Replaces the list of tolerations with a map.
;;@ writes /spec/template/spec/tolerations
(data (i32.const 0x1000) "/spec/template/spec/tolerations")
(data (i32.const 0x1100) "{}")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
