;; Changes a place that begins with the same letters as a declared one.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels2")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
