;; Requests the namespace's labels although its manifest does not declare that.
(func $hostile (result i32) (call $data (i32.const 0) (i32.const 0x40)) (call $changed))
