;; Reads a sibling whose name begins with the name of a declared read.
;;@ reads /metadata/labels
(data (i32.const 0x1000) "/metadata/labels2")
(func $hostile (result i32) (call $read (i32.const 0x1000)) (call $changed))
