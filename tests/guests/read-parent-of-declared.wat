;; Reads the parent of a declared read.
;;@ reads /metadata/labels
(data (i32.const 0x1000) "/metadata")
(func $hostile (result i32) (call $read (i32.const 0x1000)) (call $changed))
