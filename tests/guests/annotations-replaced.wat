;; Replaces all annotations, kubectl's own among them.
;;@ writes /metadata/annotations
(data (i32.const 0x1000) "/metadata/annotations")
(data (i32.const 0x1100) "{}")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
