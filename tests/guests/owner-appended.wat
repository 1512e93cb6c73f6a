;; Adds an owner reference; its `writes` name only the parent.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata/ownerReferences")
(data (i32.const 0x1100) "[{\"kind\":\"Pod\"}]")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
