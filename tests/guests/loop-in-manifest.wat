;; Loops forever in `manifest`.
(func (export "manifest") (result i32) (loop $for-ever (br $for-ever)) (unreachable))
