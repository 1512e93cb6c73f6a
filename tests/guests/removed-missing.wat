;; Removes a missing member.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels/nothing")
(func $hostile (result i32) (call $remove (i32.const 0x1000)) (call $changed))
