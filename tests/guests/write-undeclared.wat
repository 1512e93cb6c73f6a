;; Changes a pointer that its manifest's `writes` do not cover.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/annotations/x")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
