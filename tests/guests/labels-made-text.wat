;; Replaces the labels with a string.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels")
(data (i32.const 0x1100) "\"text\"")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
