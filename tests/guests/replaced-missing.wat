;; Replaces a missing member.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels/nothing")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
