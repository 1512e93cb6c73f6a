;; Reads the author's annotations, which its manifest does not declare.
;;@ reads /metadata/labels
(data (i32.const 0x1000) "/metadata/annotations")
(func $hostile (result i32) (call $read (i32.const 0x1000)) (call $changed))
