;; Removes `/metadata`.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata")
(func $hostile (result i32) (call $remove (i32.const 0x1000)) (call $changed))
