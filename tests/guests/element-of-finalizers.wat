;; Removes one finalizer; its `writes` name only the parent.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata/finalizers/0")
(func $hostile (result i32) (call $remove (i32.const 0x1000)) (call $changed))
