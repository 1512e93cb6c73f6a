;; Reads a pointer in the old object that its manifest does not declare.
;;@ reads /metadata/labels
(data (i32.const 0x1000) "/spec")
(func $hostile (result i32)
  (call $old-object (i32.const 0x1000) (i32.const 5) (i32.const 0x40))
  (call $changed))
