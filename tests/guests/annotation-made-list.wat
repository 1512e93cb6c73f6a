;; Adds an annotation that is a list.
;;@ writes /metadata/annotations
(data (i32.const 0x1000) "/metadata/annotations/x")
(data (i32.const 0x1100) "[]")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
