;; Adds a value that would close its object and open another one.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels/x")
(data (i32.const 0x1100) "\"y\"},\"uid\":\"stolen\",\"more\":{")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
