;; Replaces a label with a number.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels/team")
(data (i32.const 0x1100) "5")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
