;; Makes a change at a malformed JSON Pointer.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "metadata/labels/~2")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
