;; Adds below a string.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata/labels/team/x")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
