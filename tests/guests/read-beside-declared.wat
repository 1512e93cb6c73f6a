;; Reads a place that begins with the same letters as a declared one.
;;@ reads /metadata/labels
(data (i32.const 0x1000) "/metadata/labels2")
(func $hostile (result i32) (call $read (i32.const 0x1000)) (call $changed))
