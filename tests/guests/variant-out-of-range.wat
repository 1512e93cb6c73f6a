;; Returns an edit of a kind that the contract does not define.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels/x")
(func $hostile (result i32) (call $edit (i32.const 9) (i32.const 0x1000) (i32.const 0x1000)) (call $changed))
