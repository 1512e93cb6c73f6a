;; Removes one finalizer, and its `writes` name the parent only.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata/finalizers/0")
(func $hostile (result i32) (call $remove (i32.const 0x1000)) (call $changed))
