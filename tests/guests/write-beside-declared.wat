;; Changes a sibling whose name begins with the name of a declared write.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels2")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
