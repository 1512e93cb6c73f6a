;; Reads the document in `manifest`.
(func (export "manifest") (result i32) (call $read (i32.const 0x1000)) (i32.const 0x4000))
