;; Reads the parent of a declared read in the old object.
;;@ reads /metadata/labels
(data (i32.const 0x1000) "/metadata")
(func $hostile (result i32)
  (call $old-object (i32.const 0x1000) (i32.const 9) (i32.const 0x40))
  (call $changed))
