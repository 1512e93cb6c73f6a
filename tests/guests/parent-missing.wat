;; Adds below a missing parent.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata/nothing/here")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
